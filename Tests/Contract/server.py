"""A server to ask: `smartorders dev` on a private PostgreSQL and Redis."""

import os
import re
import subprocess
import sys
import threading


def start(program, seconds, log, data=None, **environment):
    """The server's address and key, once it is ready. `data`: where its private servers keep their data."""
    environment = dict(os.environ, SMARTORDERS_RATE_FACTOR="1000", **environment)
    server = subprocess.Popen(
        [program, "dev", "--for", f"{seconds}s", "--port", "0"] + (["--data", data] if data else []),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    patience = threading.Timer(180, server.kill)
    patience.start()
    for line in server.stderr:
        log.write(line)
        ready = re.search(r"ready: API on (\S+)  key (\S+)", line)
        if ready:
            patience.cancel()

            def drain():
                for rest in server.stderr:
                    log.write(rest)
                    log.flush()

            threading.Thread(target=drain, daemon=True).start()
            return server, ready[1], ready[2]
    sys.exit("the server did not start")
