# SPDX-License-Identifier: BSD-3-Clause
"""The wire: RESP2, RESP3, inline commands, pipelines, limits and errors, byte for byte as Redis."""
import os
import unittest

import firn


class Protocol(firn.Case):
    OPTIONS = ("--unixsocket", "s.sock")

    def raw(self, data):
        """Everything the server answers to ${data} until it closes."""
        client = self.server.client()
        client.send_raw(data)
        out = client.input.read()
        client.close()
        return out

    def test_protocol_errors_close_the_connection(self):
        for sent, answer in ((b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$-10\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
                             (b"*20000000000\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
                             (b"*1\r\nfooz\r\n", b"-ERR Protocol error: expected '$', got 'f'\r\n"),
                             (b"*1\r\n$abc\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
                             (b"SET \"unbalanced\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
                             (b"x" * 70000, b"-ERR Protocol error: too big inline request\r\n"),
                             (b"*1\r\n" + b"$" + b"1" * 70000, b"-ERR Protocol error: too big bulk count string\r\n")):
            self.assertEqual(self.raw(sent), answer)

    def test_inline(self):
        client = self.server.client()
        client.send_raw(b"\r\nSET \"quoted key\" 'it\\'s \"v\"'\r\nGET \"quoted\\x20key\"\n*0\r\n*-1\r\nPING\r\n")
        self.assertEqual([client.receive() for _ in range(3)], ["OK", b"it's \"v\"", "PONG"])
        client.close()

    def test_bytes_one_at_a_time(self):
        client = self.server.client()
        for byte in client.encode("SET", "slow", "value\r\n\0end") + client.encode("GET", "slow"):
            client.send_raw(bytes([byte]))
        self.assertEqual((client.receive(), client.receive()), ("OK", b"value\r\n\0end"))
        client.close()

    def test_large_pipelines_keep_their_order(self):
        client = self.server.client()
        count = 20000
        replies = client.pipeline([("SET", "p:%d" % i, i) for i in range(count)] + [("GET", "p:%d" % i) for i in range(count)])
        self.assertEqual(replies, ["OK"] * count + [b"%d" % i for i in range(count)])
        client.close()

    def test_large_arguments(self):
        client = self.server.client()
        value = os.urandom(30 << 20)
        self.assertEqual(client("SET", "large", value), "OK")
        self.assertEqual(client("GET", "large"), value)
        self.assertEqual(client("DEL", "large"), 1)
        client.close()

    def test_resp3(self):
        client = self.server.client()
        hello = client("HELLO", "3")
        self.assertEqual((hello[b"proto"], hello[b"role"], hello[b"server"]), (3, b"master", b"redis"))
        client("HSET", "h", "f", "v")
        self.assertEqual(client("HGETALL", "h"), {b"f": b"v"})
        self.assertIsNone(client("GET", "none"))
        self.assertIs(client("DEBUG", "PROTOCOL", "true"), True)
        self.assertEqual(client("DEBUG", "PROTOCOL", "double"), 3.141)
        self.assertEqual(client("DEBUG", "PROTOCOL", "map"), {0: False, 1: True, 2: False})
        self.assertEqual(client("HELLO", "2")[:2], [b"server", b"redis"])
        self.assertIn("NOPROTO", client.error("HELLO", "4"))
        client.close()

    def test_unknown_commands_and_arity(self):
        client = self.server.client()
        self.assertEqual(client.error("nope", "a", "b"), "ERR unknown command 'nope', with args beginning with: 'a' 'b' ")
        self.assertEqual(client.error("GET"), "ERR wrong number of arguments for 'get' command")
        self.assertEqual(client.error("CONFIG", "NOPE"), "ERR unknown subcommand 'NOPE'. Try CONFIG HELP.")
        self.assertEqual(client.error("CLIENT", "SETNAME"), "ERR wrong number of arguments for 'client|setname' command")
        client.close()

    def test_unix_socket(self):
        client = firn.Client(path=os.path.join(self.server.folder, "s.sock"))
        self.assertEqual(client("PING", "hello"), b"hello")
        client.close()

    def test_quit_reset_and_reply_modes(self):
        client = self.server.client()
        client("SELECT", 3)
        client("CLIENT", "SETNAME", "me")
        self.assertEqual(client("RESET"), "RESET")
        self.assertIn(client("CLIENT", "GETNAME"), (None, b""))
        client.send("CLIENT", "REPLY", "SKIP")
        client.send("SET", "a", "1")
        self.assertEqual(client("GET", "a"), b"1")
        self.assertEqual(client("QUIT"), "OK")
        self.assertTrue(client.at_end())
        client.close()

    def test_half_a_command_then_gone(self):
        for cut in range(1, 30, 3):
            client = self.server.client()
            client.send_raw(client.encode("SET", "cut", "value")[:cut])
            client.close()
        client = self.server.client()
        self.assertEqual((client("PING"), client("EXISTS", "cut")), ("PONG", 0))
        client.close()


class Limits(firn.Case):
    OPTIONS = None

    def test_authentication(self):
        with firn.Server("--requirepass", "secret") as server:
            client = server.client()
            self.assertEqual(client.error("GET", "x"), "NOAUTH Authentication required.")
            self.assertEqual(client.error("AUTH", "wrong"), "WRONGPASS invalid username-password pair or user is disabled.")
            client.send_raw(b"*1000\r\n")
            self.assertEqual(client.error(), "ERR Protocol error: unauthenticated multibulk length")
            client.close()
            client = server.client()
            self.assertEqual(client("AUTH", "default", "secret"), "OK")
            self.assertIsNone(client("GET", "x"))
            client.close()

    def test_password_of_any_bytes(self):
        with firn.Server(config="") as server:
            client = server.client()
            self.assertEqual(client("CONFIG", "SET", "requirepass", b"a\0b"), "OK")
            self.assertEqual(client("CONFIG", "GET", "requirepass"), [b"requirepass", b"a\0b"])
            self.assertIn("must not contain a zero byte", client.error("CONFIG", "SET", "requirepass", b"c", "proc-title-template", b"a\0b"))
            self.assertEqual(client("CONFIG", "REWRITE"), "OK")
            with open(server.config) as file:
                self.assertIn('requirepass "a\\x00b"', file.read())
            other = server.client()
            for wrong in (b"a", b"c", b"a\0c", b"a\0bb", b""):
                self.assertEqual(other.error("AUTH", wrong), "WRONGPASS invalid username-password pair or user is disabled.")
            self.assertEqual(other("AUTH", b"a\0b"), "OK")
            self.assertEqual(other("CONFIG", "SET", "requirepass", ""), "OK")
            third = server.client()
            self.assertEqual(third("PING"), "PONG")
            for one in (client, other, third):
                one.close()

    def test_maxclients(self):
        with firn.Server("--maxclients", "5") as server:
            first = server.client()
            firn.wait_until(lambda: first("CLIENT", "LIST").count(b"\n") == 1, "the connection that saw the server come up is left")
            clients = [first] + [server.client() for _ in range(4)]
            self.assertEqual([client("PING") for client in clients], ["PONG"] * 5)
            extra = server.client()
            self.assertEqual(extra.input.read(), b"-ERR max number of clients reached\r\n")
            extra.close()
            for client in clients:
                client.close()

    def test_query_buffer_limit(self):
        with firn.Server("--client-query-buffer-limit", "1mb") as server:
            client = server.client()
            try:
                client.send_raw(b"*2\r\n$3\r\nGET\r\n$50000000\r\n" + b"x" * 4000000)
                closed = client.at_end()
            except (BrokenPipeError, ConnectionResetError):
                closed = True
            self.assertTrue(closed)
            client.close()
            self.assertEqual(server.info("stats")["client_query_buffer_limit_disconnections"], "1")

    def test_output_buffer_limit(self):
        with firn.Server("--client-output-buffer-limit", "normal 1mb 0 0") as server:
            client = server.client()
            client("SET", "v", b"x" * 100000)
            try:
                for _ in range(400):
                    client.send("GET", "v")
                    client.send_raw(client.encode("GET", "v") * 10)
                while client.input.read(1 << 20):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
            client.close()
            self.assertEqual(server.info("stats")["client_output_buffer_limit_disconnections"], "1")

    def test_a_reply_beyond_the_limit_ends_the_command(self):
        """A billion random elements are asked for: the reply is cut off at the limit, the client closed, others go on."""
        with firn.Server("--client-output-buffer-limit", "normal 1000000 0 0") as server:
            client = server.client()
            client("HSET", "h", "field", "value"), client("SADD", "s", "member"), client("ZADD", "z", 1, "member")
            for command in ("HRANDFIELD", "h"), ("SRANDMEMBER", "s"), ("ZRANDMEMBER", "z"):
                greedy = server.client()
                greedy.send(*command, -999999999)
                self.assertTrue(self.cut_off(greedy), command)
                greedy.close()
            self.assertEqual(client("PING"), "PONG")
            self.assertLess(int(server.info("memory")["used_memory"]), 30_000_000)
            client.close()

    def test_a_transaction_beyond_the_limit_runs_to_its_end(self):
        with firn.Server("--client-output-buffer-limit", "normal 100000 0 0") as server:
            client, greedy = server.client(), server.client()
            for _ in range(150):
                client("LPUSH", "l", "x" * 1000)
            greedy.pipeline([("MULTI",), ("LRANGE", "l", 0, -1), ("SET", "k", "v")])
            greedy.send("EXEC")
            self.assertTrue(self.cut_off(greedy))
            self.assertEqual(client("GET", "k"), b"v")
            client.close(), greedy.close()

    @staticmethod
    def cut_off(client):
        """Read what comes; whether the connection ends below 100 MB."""
        for _ in range(1000):
            try:
                if not client.socket.recv(100_000):
                    return True
            except ConnectionError:
                return True
        return False

    def test_clients_are_evicted_for_what_they_hold_alone(self):
        with firn.Server("--maxmemory-clients", "3mb") as server:
            client, other = server.client(), server.client()
            client("CLIENT", "NO-EVICT", "ON")
            for _ in range(3):
                greedy = server.client()
                try:
                    greedy.send_raw(b"*1\r\n$4000000\r\n" + b"x" * 3_500_000)
                except ConnectionError:  # closed before all of it was sent
                    pass
                self.assertTrue(greedy.at_end())
                greedy.close()
            self.assertEqual(other("PING"), "PONG")
            self.assertEqual(int(server.info("stats")["evicted_clients"]), 3)
            client("CONFIG", "SET", "maxmemory-clients", "7%")  # of no maxmemory: no limit
            self.assertEqual(other("PING"), "PONG")
            self.assertEqual(int(server.info("stats")["evicted_clients"]), 3)
            client.close(), other.close()

    def test_idle_timeout(self):
        with firn.Server("--timeout", "1") as server:
            client = server.client()
            client("PING")
            self.assertTrue(client.at_end())
            client.close()

    def test_epoll_backend(self):
        for backend in ("epoll", "io_uring"):
            with firn.Server("--event-loop", backend) as server:
                client = server.client()
                self.assertEqual(client.pipeline([("INCR", "n")] * 1000), list(range(1, 1001)))
                value = os.urandom(5 << 20)
                client("SET", "v", value)
                self.assertEqual(client("GET", "v"), value)
                client.close()


if __name__ == "__main__":
    unittest.main()
