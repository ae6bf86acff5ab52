#!/usr/bin/env python3
"""Remakes election.png, refusal.png and architecture.png: five members, Jaeger and its own page in Chromium.

    cargo build --example node
    examples/backends/screenshots.py target/debug/examples/node JAEGER_UI_FOLDER

Needs jaeger and chromium on PATH, and Jaeger's page (its index.html lies in JAEGER_UI_FOLDER). A member is restarted, and
the leader is killed while the restarted one may not vote yet: so the next election has a refusal and a silent member.
"""

import base64
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
NAMES = [f"planner-{number}" for number in range(5)]


def main():
    node, assets = sys.argv[1:3]
    started = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            page, otlp = start_jaeger(assets, folder, started)
            play(node, otlp, folder, started)
            take(page, election_with_a_refusal(page), folder, started)
        finally:
            for child in started:
                child.kill()
                child.wait()


def wait_for(what, condition, limit=60):
    until = time.monotonic() + limit
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise SystemExit(f"not in {limit} s: {what}")


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return [f"127.0.0.1:{port}" for port in ports]


def get(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def start_jaeger(assets, folder, started):
    page, query, grpc, http = free_ports(4)
    env = dict(os.environ, JAEGER_PAGE=page, JAEGER_QUERY_GRPC=query, JAEGER_OTLP_GRPC=grpc, JAEGER_OTLP_HTTP=http)
    env |= {"JAEGER_UI_ASSETS": assets, "JAEGER_UI_CONFIG": str(HERE / "jaeger-ui.json")}
    log = open(f"{folder}/jaeger.log", "wb")
    started.append(subprocess.Popen(["jaeger", "--config", HERE / "jaeger.yaml"], env=env, stdout=log, stderr=log))
    wait_for("Jaeger", lambda: get(page, "/api/services"))
    return page, f"http://{grpc}"


def play(node, otlp, folder, started):
    """The story that the pictures show."""
    addresses = dict(zip(NAMES, free_ports(len(NAMES))))
    env = dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT=otlp, OTEL_BSP_SCHEDULE_DELAY="100", OTEL_METRICS_EXPORTER="none")
    members, logs = {}, {name: pathlib.Path(folder, f"{name}.log") for name in NAMES}

    def start(name):
        command = [node, "--cluster", "planner", "--heartbeat", "150", "--id", name, "--listen", addresses[name]]
        command += ["--data", f"{folder}/{name}"]
        for peer in NAMES:
            command += ["--peer", f"{peer}={addresses[peer]}"] if peer != name else []
        with open(logs[name], "wb") as log:
            members[name] = subprocess.Popen(command, env=env, stdout=log)
        started.append(members[name])

    def leader(but=None):
        says = [name for name in NAMES if name != but and "leading alone" in logs[name].read_text()]
        return says and says[0]

    for name in NAMES:
        start(name)
    first = wait_for("a leader", leader)
    restarted = next(name for name in NAMES if name != first)
    time.sleep(1)
    members[restarted].kill()
    members[restarted].wait()
    time.sleep(0.5)
    start(restarted)
    wait_for("it to be back", lambda: "refuses votes" in logs[restarted].read_text())
    time.sleep(0.2)
    members[first].kill()
    wait_for("another leader", lambda: leader(but=first))
    time.sleep(1)
    for name in NAMES:
        members[name].send_signal(signal.SIGTERM)
        members[name].wait()


def election_with_a_refusal(page):
    """The election that was won against a refusal by a restarted member: its id, and how many spans it has."""

    def find():
        for name in NAMES:
            found = get(page, f"/api/traces?service={name}&operation=raft.election&limit=50&lookback=1h")
            for trace in (found or {}).get("data") or []:
                tags = {(tag["key"], tag["value"]) for span in trace["spans"] for tag in span["tags"]}
                if {("raft.election.outcome", "won"), ("raft.vote.reason", "restart_quarantine")} <= tags:
                    return trace["traceID"], len(trace["spans"])
        return None

    return wait_for("an election with a refusal: try again", find, 20)


def take(page, trace, folder, started):
    identity, spans = trace
    browser = Browser(folder, started)
    # As high as its rows.
    browser.open(f"http://{page}/trace/{identity}", 1400, 255 + 28 * spans)
    browser.until(f"document.querySelectorAll('.span-row').length == {spans}")
    browser.save("election.png")
    # The election before is a click away: the mirrored link of the first round is one in the page.
    open_details(browser, "raft.pre_vote")
    browser.until("document.querySelector('.detail-row a[href*=\"/trace/\"]')")
    # The refusal, opened: its reason is an attribute.
    browser.open("about:blank", 1400, 1000)
    browser.open(f"http://{page}/trace/{identity}", 1400, 1000)
    browser.until("document.querySelectorAll('.span-row').length > 20")
    open_details(browser, "raft.vote.deny")
    browser.run("document.querySelector('.detail-row').scrollIntoView({block: 'end'})")
    time.sleep(1)
    browser.save("refusal.png")
    browser.open(f"http://{page}/dependencies", 1200, 700)
    browser.until("document.body.innerText.includes('planner-0')")
    time.sleep(3)
    browser.save("architecture.png")


def open_details(browser, name):
    """Clicks on the first span of that name, and opens its attributes."""
    rows = "[...document.querySelectorAll('.span-row')]"
    with_name = f"row => row.innerText.split(/\\s/).includes('{name}')"
    browser.run(f"{rows}.find({with_name}).querySelector('.span-view').click()")
    browser.until("document.querySelector('.detail-row')")
    heads = "[...document.querySelectorAll('.detail-row [role=switch]')]"
    browser.run(f"{heads}.find(head => head.innerText.includes('Tags')).click()")
    browser.until("document.querySelector('.detail-row table')")


class Browser:
    """As much of Chromium's protocol as this takes."""

    def __init__(self, folder, started):
        data = pathlib.Path(folder, "chromium")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        command = ["chromium", *flags, f"--user-data-dir={data}", "about:blank"]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_for("Chromium", (data / "DevToolsActivePort").exists)
        port = wait_for("its port", lambda: (data / "DevToolsActivePort").read_text().split())[0]
        pages = wait_for("its page", lambda: [p for p in get(f"127.0.0.1:{port}", "/json") or [] if p["type"] == "page"])
        path = pages[0]["webSocketDebuggerUrl"].split(port, 1)[1]
        self.socket = socket.create_connection(("127.0.0.1", int(port)))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        self.stream = self.socket.makefile("rb")
        while self.stream.readline().strip():
            pass
        self.number = 0

    def call(self, method, **params):
        self.number += 1
        text = json.dumps({"id": self.number, "method": method, "params": params}).encode()
        mask = os.urandom(4)
        self.socket.sendall(
            b"\x81" + struct.pack("!BQ", 0xFF, len(text)) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text))
        )
        while True:
            message = json.loads(self.frame())
            if message.get("id") == self.number:
                return message.get("result", {})

    def frame(self):
        whole = b""
        while True:
            first, size = self.stream.read(2)
            size &= 0x7F
            size = struct.unpack("!H", self.stream.read(2))[0] if size == 126 else size
            size = struct.unpack("!Q", self.stream.read(8))[0] if size == 127 else size
            whole += self.stream.read(size)
            if first & 0x80:
                return whole

    def open(self, url, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)

    def run(self, script):
        return self.call("Runtime.evaluate", expression=script, returnByValue=False).get("result", {})

    def until(self, script):
        asked = f"!!({script})"
        wait_for(script, lambda: self.call("Runtime.evaluate", expression=asked)["result"].get("value") is True, 20)
        time.sleep(1)

    def save(self, name):
        picture = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        (HERE / name).write_bytes(picture)
        print(f"{name}: {len(picture)} bytes")


if __name__ == "__main__":
    main()
