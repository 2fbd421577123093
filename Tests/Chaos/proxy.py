"""TCP fault proxy: one listener per link, faults by link (RELIABILITY.md 9.1).

Used in process by chaos.py: `Proxies` runs an event loop in a thread of its own. A link is a listening port in front of
a target port. Faults hold for both directions unless `way` is `up` (client to server) or `down`:

  latency MS, jitter MS   every chunk waits so long (and up to jitter more)
  slice BYTES             chunks are cut into pieces of at most so many bytes
  bandwidth BYTES         arrive in a second, in pieces of at most a kilobyte
  cut PERMILLE            of the chunks arrive by half, and the connection is reset
  blackhole               bytes are swallowed, connections stay open
  refuse                  new connections are refused
`reset(link)` ends what is open with a TCP reset. Cost: about 0.2 ms a round trip.
"""

import asyncio
import random
import socket
import struct
import threading


class Link:
    def __init__(self, name, target):
        self.name = name
        self.target = target
        self.port = 0
        self.faults = {}
        self.pairs = set()


class Proxies:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.links = {}
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def open(self, name, target):
        """Puts a listener in front of `target` (a port on loopback); returns its port."""
        return self._call(self._open(name, target))

    async def _open(self, name, target):
        link = Link(name, target)
        server = await asyncio.start_server(lambda r, w: self._serve(link, r, w), "127.0.0.1", 0)
        link.port = server.sockets[0].getsockname()[1]
        self.links[name] = link
        return link.port

    def set(self, name, way=None, **faults):
        """Replaces the faults of a link; without any it is healthy."""

        async def work():
            self.links[name].faults = {"way": way, **faults}

        self._call(work())

    def reset(self, name):
        async def work():
            for writer in list(self.links[name].pairs):
                _reset(writer)

        self._call(work())

    def heal(self):
        for name in list(self.links):
            self.set(name)

    async def _serve(self, link, reader, writer):
        if "refuse" in link.faults:
            _reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", link.target)
        except OSError:
            _reset(writer)
            return
        for each in (writer, server_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.pairs.add(each)
        try:
            await asyncio.gather(
                self._pump(link, "up", reader, server_writer), self._pump(link, "down", server_reader, writer)
            )
        finally:
            for each in (writer, server_writer):
                link.pairs.discard(each)
                each.close()

    async def _pump(self, link, way, reader, writer):
        try:
            while True:
                chunk = await reader.read(65536)
                faults = link.faults if link.faults.get("way") in (None, way) else {}
                if not chunk:
                    break
                wait = faults.get("latency", 0) + self.random.uniform(0, faults.get("jitter", 0))
                if wait:
                    await asyncio.sleep(wait / 1000)
                if "blackhole" in faults:
                    continue
                if faults.get("cut") and self.random.random() * 1000 < faults["cut"]:
                    writer.write(chunk[: self.random.randrange(len(chunk))])
                    await writer.drain()
                    _reset(writer)
                    break
                step = faults.get("slice") or (1_024 if "bandwidth" in faults else len(chunk))
                for start in range(0, len(chunk), step):
                    piece = chunk[start : start + step]
                    # What is left of a chunk when the link is mended arrives at once.
                    if "bandwidth" in faults and link.faults is faults:
                        await asyncio.sleep(len(piece) / faults["bandwidth"])
                    writer.write(piece)
                    await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            try:
                if writer.can_write_eof():
                    writer.write_eof()
                else:
                    writer.close()
            except (OSError, RuntimeError):
                writer.close()


def _reset(writer):
    """Ends a connection with RST instead of FIN."""
    try:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    except (OSError, AttributeError):
        pass
