"""Which commands there are: a table, so that help, completions and man pages cannot forget one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[[list[str]], int]

# `coso compose NAME`.
COMPOSE = {
    "up": "make and start the services",
    "down": "stop and remove them, with their networks",
    "config": "show what the files say together",
    "ls": "list projects",
    "ps": "list containers",
    "logs": "show output",
    "exec": "run a command in a container",
    "run": "run a command in a container of its own",
    "start": "start containers that are there",
    "stop": "stop containers",
    "restart": "stop containers and start them again",
    "build": "build images",
    "pull": "pull images",
    "top": "list processes",
    "events": "tell what happens",
    "port": "where a port is published",
    "kill": "send a signal",
    "rm": "remove containers that have ended",
    "pause": "freeze containers",
    "unpause": "let containers go on",
    "images": "list the images of containers",
    "wait": "wait for containers to end",
    "watch": "bring changes of files into containers",
}
# Group, name, module and function, a line of help.  A name of two words is a command below another.
TABLE: tuple[tuple[str, str, str, str], ...] = (
    ("Containers", "run", "run:main", "run a command in a new container"),
    ("Containers", "create", "create:create", "make a container without starting it"),
    ("Containers", "start", "create:start", "start containers"),
    ("Containers", "stop", "containers:stop", "ask containers to end, and kill them when they do not"),
    ("Containers", "restart", "containers:restart", "stop containers and start them again"),
    ("Containers", "kill", "containers:kill", "send a signal to containers"),
    ("Containers", "pause", "containers:pause", "freeze the processes of containers"),
    ("Containers", "unpause", "containers:unpause", "let frozen containers go on"),
    ("Containers", "rm", "containers:rm", "remove containers"),
    ("Containers", "rename", "containers:rename", "give a container another name"),
    ("Containers", "wait", "containers:wait", "wait for containers to end, and print their exit statuses"),
    ("Containers", "ps", "ps:ps", "list containers"),
    ("Containers", "logs", "output:logs", "show the output of a container"),
    ("Containers", "attach", "create:attach", "join a container that runs"),
    ("Containers", "exec", "exec:main", "run a command in a container that runs"),
    ("Containers", "top", "output:top", "list the processes of a container"),
    ("Containers", "stats", "stats:main", "show what containers use"),
    ("Containers", "inspect", "inspect:main", "show all that is known of containers, images, volumes and networks"),
    ("Containers", "cp", "copy:cp", "copy files from or to a container"),
    ("Containers", "diff", "copy:diff", "list what a container has changed"),
    ("Containers", "export", "copy:export", "write a container's tree as an archive"),
    ("Containers", "commit", "copy:commit", "make an image of what a container has changed"),
    ("Containers", "update", "containers:update", "change limits and restart policy of containers"),
    ("Containers", "container prune", "containers:prune", "remove containers that have ended"),
    ("Images", "pull", "registry:pull", "bring an image from a registry"),
    ("Images", "push", "registry:push", "upload an image to a registry"),
    ("Images", "images", "images:images", "list images"),
    ("Images", "rmi", "images:rmi", "remove images, or names of theirs"),
    ("Images", "tag", "images:tag", "give an image one more name"),
    ("Images", "history", "images:history", "show what an image was made of"),
    ("Images", "save", "images:save", "write images to an archive"),
    ("Images", "load", "images:load", "read images from an archive"),
    ("Images", "import", "images:import_", "make an image from an archive of a root filesystem"),
    ("Images", "build", "build:build", "make an image from a Dockerfile"),
    ("Images", "builder prune", "build:prune", "forget the layers of earlier builds"),
    ("Images", "image build", "build:build", "as `build`"),
    ("Images", "login", "registry:login", "keep the credentials for a registry"),
    ("Images", "logout", "registry:logout", "forget the credentials for a registry"),
    ("Images", "image ls", "images:images", "as `images`"),
    ("Images", "image rm", "images:rmi", "as `rmi`"),
    ("Images", "image pull", "registry:pull", "as `pull`"),
    ("Images", "image push", "registry:push", "as `push`"),
    ("Images", "image tag", "images:tag", "as `tag`"),
    ("Images", "image history", "images:history", "as `history`"),
    ("Images", "image save", "images:save", "as `save`"),
    ("Images", "image load", "images:load", "as `load`"),
    ("Images", "image import", "images:import_", "as `import`"),
    ("Images", "image prune", "images:prune", "remove images that nothing needs"),
    ("Volumes", "volume create", "volumes:create", "make a volume"),
    ("Volumes", "volume ls", "volumes:ls", "list volumes"),
    ("Volumes", "volume inspect", "volumes:inspect", "show all that is known of volumes"),
    ("Volumes", "volume rm", "volumes:rm", "remove volumes"),
    ("Volumes", "volume prune", "volumes:prune", "remove volumes that no container uses"),
    ("Networks", "network", "network:main", "networks that containers meet on"),
    ("Networks", "port", "network:port", "where the ports of a container are published"),
    ("Compose", "compose", "compose:main", "the services of a compose file"),
    ("Compose", "up", "compose:up", "make and start the services of a compose file"),
    ("Compose", "down", "compose:down", "stop and remove them, with their networks"),
    *(("Compose", f"compose {name}", f"compose:{name}", text) for name, text in COMPOSE.items()),
    ("This machine", "events", "output:events", "tell what happens to containers"),
    ("This machine", "info", "system:info", "what this machine has and what coso keeps"),
    ("This machine", "system df", "system:df", "how much disk images, containers and volumes take"),
    ("This machine", "system prune", "system:prune", "remove all that nothing needs"),
    ("This machine", "system check", "system:check", "verify the image store, and repair it"),
    ("This machine", "system events", "output:events", "as `events`"),
    ("This machine", "system info", "system:info", "as `info`"),
    ("This machine", "verify", "verify:main", "prove that a container is isolated"),
    ("This machine", "oci", "oci:main", "the OCI runtime command line (coso-oci), for engines"),
    ("This machine", "gc", "gc:main", "take back what killed processes left behind"),
    ("This machine", "completion", "documents:completion", "print completions for bash, zsh or fish"),
    ("This machine", "man", "documents:man", "write the manual pages"),
    ("This machine", "version", "version:main", "the version of coso and of what it stands on"),
)
# `docker container stop` is `docker stop`, and so on.
ALIASES = (
    "attach commit cp create diff exec export inspect kill logs pause rename restart rm run start stats stop top "
    "unpause update wait"
).split()
TABLE += tuple(
    ("Containers", f"container {name}", path, f"as `{name}`") for _, name, path, _ in TABLE if name in ALIASES
)
TABLE += (
    ("Containers", "container ls", "ps:ps", "as `ps`"),
    ("Containers", "container port", "network:port", "as `port`"),
    ("Images", "image inspect", "inspect:image", "as `inspect`, of images"),
)
PATHS = {name: path for _, name, path, _ in TABLE}
ABOVE = {name.partition(" ")[0] for name in PATHS if " " in name}
# What an ordinary user does as such. What touches files that containers' users have made is done as root of a user
# namespace; but from there other containers' namespaces cannot be entered, nor their processes be signalled.
AS_USER = set(
    "run create start stop restart kill pause unpause rm rename wait ps logs attach exec top stats inspect cp export "
    "update port network verify oci gc events info version login logout completion man df".split()
)


def find(words: list[str]) -> tuple[str, list[str]]:
    """The command's name in the table and the words after it; `""` where there is no such command."""
    two = " ".join(words[:2])
    if two in PATHS:
        return two, words[2:]
    first = words[0] if words else ""
    return (first, words[1:]) if first in PATHS else ("", words)


def as_user(name: str) -> bool:
    """Whether an ordinary user does this as such."""
    return name.rpartition(" ")[2] in AS_USER or name.partition(" ")[0] in ("compose", "up", "down")


def load(name: str) -> Command:
    """The function of a command."""
    module, _, function = PATHS[name].partition(":")
    parts = __import__(f"coso.cli.{module}", fromlist=[function])
    command: Command = getattr(parts, function)
    return command


def below(name: str) -> dict[str, str]:
    """The commands below another, with their help."""
    return {command.partition(" ")[2]: text for _, command, _, text in TABLE if command.startswith(f"{name} ")}


def overview() -> str:
    """All commands by group."""
    lines: list[str] = []
    group = ""
    for kind, name, _, text in TABLE:
        if " " in name and name.partition(" ")[0] not in ("volume", "system"):
            continue
        if kind != group:
            lines += ["", f"{kind}:"]
            group = kind
        lines.append(f"  {name}".ljust(17) + text)
    lines += ["", "Below these, `coso COMMAND --help` lists more: " + ", ".join(sorted(ABOVE))]
    return "\n".join(lines)
