"""Compares docker/ and README.md with the built command line and with the habits of a deployment; exit 1: differences.

compose cannot be started where this runs: this is what keeps it true.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
STORES = {"postgres", "redis"}
ONE_SHOTS = {"migrate"}
problems = []


def expect(holds, text):
    if not holds:
        problems.append(text)


def command_tree():
    """The command line as it describes itself."""
    binary = ROOT / ".build/debug/smartorders"
    if not binary.exists():
        sys.exit("check-deployment: there is no .build/debug/smartorders; run swift build first")
    dump = subprocess.run([binary, "--experimental-dump-help"], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(dump.stdout)["command"]


def subcommands(command):
    return {each["commandName"]: each for each in command.get("subcommands", []) if each["commandName"] != "help"}


def check_arguments(where, words, tree):
    """Every word of a container's command is a verb or a flag of the real command line."""
    command = tree
    words = list(words)
    while words and words[0] in subcommands(command):
        command = subcommands(command)[words.pop(0)]
    expect(not subcommands(command), f"{where}: `{' '.join(words[:1])}` is no verb of {command['commandName']}")
    flags = {}
    for argument in command.get("arguments", []):
        for name in argument.get("names", []):
            flags[("--" if name["kind"] == "long" else "-") + name["name"]] = argument["kind"]
    while words:
        word = words.pop(0)
        name, equals, _ = word.partition("=")
        if not word.startswith("-"):
            expect(any(a["kind"] == "positional" for a in command.get("arguments", [])), f"{where}: stray `{word}`")
        elif name not in flags:
            expect(False, f"{where}: {command['commandName']} has no flag {name}")
        elif flags[name] == "option" and not equals:
            expect(words, f"{where}: {name} has no value")
            words[:1] = []


def check_service(name, service, all_services, tree):
    where = f"compose: {name}"
    runs_ours = name not in STORES
    if runs_ours:
        expect("build" in service and "image" in service, f"{where}: build stands beside image")
        check_arguments(where, service["command"], tree)
    image = service.get("image", "")
    tag = re.sub(r"\$\{\w+:-(.*)\}", r"\1", image)
    expect(image.startswith("${") and ":-" in image, f"{where}: the image is set through a variable with a default")
    expect(re.search(r":[^:]+$", tag) and not tag.endswith(":latest"), f"{where}: the image has a tag, not latest")
    expect("container_name" not in service, f"{where}: container_name forbids scaling")
    expect(service.get("init") is True, f"{where}: init")
    expect(service.get("read_only") is True, f"{where}: read_only")
    expect(service.get("cap_drop") == ["ALL"], f"{where}: cap_drop ALL")
    expect("no-new-privileges:true" in service.get("security_opt", []), f"{where}: no-new-privileges")
    expect(service.get("stop_grace_period") == "40s", f"{where}: stop_grace_period is longer than a graceful stop")
    expect("mem_limit" in service and "pids_limit" in service, f"{where}: memory and pids limits")
    expect(service.get("logging", {}).get("options") == {"max-size": "10m", "max-file": "3"}, f"{where}: log rotation")
    expect(service.get("networks"), f"{where}: names its networks")
    for port in service.get("ports", []):
        expect(str(port).startswith("127.0.0.1:"), f"{where}: port {port} is not bound to loopback")
    for dependency, how in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if dependency in ONE_SHOTS else "service_healthy"
        expect(how.get("condition") == wanted, f"{where}: waits for {dependency} with {wanted}")
    if name in ONE_SHOTS:
        expect(service.get("restart") == "no", f"{where}: a one-shot is not restarted")
        waiting = [other for other, its in all_services.items() if name in its.get("depends_on", {})]
        expect(set(waiting) - ONE_SHOTS, f"{where}: a long-running service depends on it, or `up --wait` fails")
    else:
        expect(service.get("restart") == "unless-stopped", f"{where}: restart")
        health = service.get("healthcheck", {}).get("test", [])
        expect(health, f"{where}: healthcheck")
        if health[:2] == ["CMD", "smartorders"]:
            check_arguments(f"{where}: healthcheck", health[2:], tree)


def check_variables(text, services):
    """Names of settings: in compose, in .env.example, in the code."""
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    expect(set(re.findall(r"\$\{(\w+)", text)) == set(defaults), "compose: a variable has no default")
    example = dict(
        line.split("=", 1)
        for line in (ROOT / "docker/.env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    expect(example == defaults, f".env.example and compose differ: {set(example.items()) ^ set(defaults.items())}")
    sources = "".join(path.read_text() for path in (ROOT / "Sources/SmartOrdersCLI").rglob("*.swift"))
    known = set(re.findall(r'environment\("(\w+)"\)', sources))
    for name, service in services.items():
        for key in service.get("environment", {}):
            if name not in STORES:
                expect(key in known, f"compose: {name}: the command line reads no {key}")
    holders = {name for name, its in services.items() if "SMARTORDERS_MASTER_KEY" in its.get("environment", {})}
    expect(holders == {"worker"}, f"compose: the master key is given to {sorted(holders)}")


def check_image():
    text = (ROOT / "docker/Dockerfile").read_text()
    stages = dict(re.findall(r"FROM \S+ AS (\w+)\n(.*?)(?=\nFROM |\Z)", text, re.S))
    expect(set(stages) == {"build", "runtime"}, f"Dockerfile: stages {sorted(stages)}")
    for package in ["libpq-dev", "libhiredis-dev", "zlib1g-dev"]:
        expect(package in stages["build"], f"Dockerfile: the build needs {package}")
    for package in ["libpq5", "libhiredis0.14", "zlib1g", "ca-certificates"]:
        expect(package in stages["runtime"], f"Dockerfile: the runtime needs {package}")
    expect(re.search(r"^USER 10001$", stages["runtime"], re.M), "Dockerfile: runs as a user without rights")
    expect('ENTRYPOINT ["smartorders"]' in stages["runtime"], "Dockerfile: entry point")


def check_readme(tree):
    """Commands in the README are commands of the program; files it names are there."""
    text = (ROOT / "README.md").read_text()
    said = re.findall(r"(?<![\w/-])smartorders ([a-z][^`\n;]*)", "\n".join(re.findall(r"`([^`\n]+)`", text)))
    said += ["dev" + options for options in re.findall(r"\./scripts/dev((?: +[^#`\n ]+)*)", text)]
    expect(len(said) > 5, "README: no command was found in it")
    for line in said:
        words = line.split()
        for choice in words[1].split("|") if len(words) > 1 and "|" in words[1] else [None]:
            check_arguments(f"README: {line}", [words[0], choice] if choice else words, tree)
    for path in set(re.findall(r"(?<![\w/])(?:\./)?((?:scripts|docker)/[\w./-]*\w)", text)):
        expect((ROOT / path).exists(), f"README: there is no {path}")


def main():
    tree = command_tree()
    text = (ROOT / "docker/compose.yml").read_text()
    services = yaml.safe_load(text)["services"]
    roles = set(subcommands(subcommands(tree)["serve"])) if "serve" in subcommands(tree) else set()
    served = {its["command"][1] for its in services.values() if its.get("command", [""])[0] == "serve"}
    expect(roles == served, f"roles of `smartorders serve` {sorted(roles)} are not the services of compose {sorted(served)}")
    expect(set(services) == served | STORES | ONE_SHOTS, f"compose: unexpected services {sorted(services)}")
    for name, service in services.items():
        check_service(name, service, services, tree)
    for role in ["scheduler", "worker"]:
        expect(services[role].get("deploy", {}).get("replicas") == 2, f"compose: two of {role}")
    redis = " ".join(services["redis"]["command"])
    for setting in ["--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"]:
        expect(setting in redis, f"compose: redis: {setting}")
    postgres = services["postgres"]
    expect(postgres.get("stop_signal") == "SIGINT" and "shm_size" in postgres, "compose: postgres: stop_signal, shm_size")
    expect("--data-checksums" in postgres["environment"]["POSTGRES_INITDB_ARGS"], "compose: postgres: data checksums")
    check_variables(text, services)
    check_image()
    check_readme(tree)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


main()
