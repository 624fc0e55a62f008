"""The Node side of tests: redlock over ioredis, in a process of its own (test/interop/node)."""

import pathlib
import shutil
import subprocess

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "interop/node"


class Node:
    """node-redlock over ioredis, in a process of its own."""

    name = "node-redlock"

    def __init__(self, url):
        self.process = subprocess.Popen(
            ["node", str(FOLDER / "client.js"), url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        return self.process.stdout.readline().strip()

    def acquire(self, key, ttl_ms, wait_s=0):
        return self.ask(f"acquire {key} {ttl_ms} {int(wait_s * 50)}") == "ok"

    def release(self):
        return self.ask("release") == "ok"

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def npm_ci(folder, package):
    """Installs what the folder's package.json names, unless it is there; says why when it cannot."""
    if not (shutil.which("node") and shutil.which("npm")):
        print(f"# node or npm is not installed: {package} is left out")
        return False
    if not (folder / "node_modules" / package).is_dir():
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            print(f"# npm ci failed, {package} is left out:")
            for line in done.stdout.splitlines()[-5:]:
                print(f"#   {line}")
            return False
    return True


def node_ready():
    return npm_ci(FOLDER, "redlock")
