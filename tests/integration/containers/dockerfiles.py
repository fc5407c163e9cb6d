"""Dockerfiles as people write them, for building here and with Docker; each with what is in its context."""

from __future__ import annotations

# Of every one the base is the image that the tests have. No network is at hand while they are built.
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "web": (
        """
FROM test/alpine:3.20
LABEL maintainer="somebody" version="1.0"
ENV WWW=/srv/www PORT=8080
RUN addgroup -S www && adduser -S -G www -h $WWW www
WORKDIR $WWW
COPY --chown=www:www index.html style.css ./
COPY conf/ /etc/web/
EXPOSE $PORT
USER www
CMD ["httpd", "-f"]
""",
        {"index.html": "<p>", "style.css": "p {}", "conf/site.conf": "a", "conf/extra/more.conf": "b"},
    ),
    "multi-stage": (
        """
ARG TAG=3.20
FROM test/alpine:$TAG AS build
WORKDIR /build
COPY src/ src/
RUN mkdir out && for f in src/*; do tr a-z A-Z < $f > out/$(basename $f).o; done && cat out/* > program
FROM test/alpine:3.20
COPY --from=build /build/program /usr/local/bin/program
COPY --from=build /build/out /usr/share/program/
RUN chmod +x /usr/local/bin/program
ENTRYPOINT ["/usr/local/bin/program"]
""",
        {"src/one.c": "int one", "src/two.c": "int two"},
    ),
    "cleaning-up": (
        """
FROM test/alpine:3.20
RUN mkdir -p /var/cache/big && dd if=/dev/zero of=/var/cache/big/file bs=1k count=64 && \\
    echo kept > /var/cache/small
RUN rm -rf /var/cache/big /etc/motd && \\
    # A comment between lines.
    touch /done
RUN rm /var/cache/small; mkdir /var/cache/small; echo x > /var/cache/small/x
""",
        {},
    ),
    "ignored": (
        """
FROM test/alpine:3.20
COPY . /app
WORKDIR /app
RUN find . | sort > /listing
""",
        {
            ".dockerignore": "# not these\n.git\n**/*.pyc\nnode_modules\n*.log\n!keep.log\nsecret?\n",
            ".git/config": "x",
            "a.py": "a",
            "a.pyc": "a",
            "lib/b.py": "b",
            "lib/b.pyc": "b",
            "node_modules/m/index.js": "m",
            "drop.log": "d",
            "keep.log": "k",
            "secret1": "s",
        },
    ),
    "archives": (
        """
FROM test/alpine:3.20
ADD files.tar.gz /opt/
ADD plain.txt /opt/plain/
COPY files.tar.gz /opt/copied.tar.gz
""",
        {"files.tar.gz": "@tar", "plain.txt": "plain"},
    ),
    "arguments": (
        """
FROM test/alpine:3.20
ARG VERSION=1.0
ARG EMPTY
ARG PLACE=/opt/app-${VERSION}
ENV APP_VERSION=${VERSION} APP_HOME="${PLACE}" NOTE='not $VERSION' MORE=${EMPTY:-default}${VERSION:+set}
RUN mkdir -p $APP_HOME && echo "$APP_VERSION $NOTE $MORE" > $APP_HOME/about
WORKDIR ${APP_HOME}/sub
RUN pwd > where
""",
        {},
    ),
    "users": (
        """
FROM test/alpine:3.20
RUN adduser -D -u 1234 worker && mkdir /data && chown worker /data
USER worker
RUN id -u > /data/id && touch /home/worker/file && umask 077 && echo s > /home/worker/secret
USER 5678:91
RUN id > /tmp/who
USER root
RUN chmod 4755 /bin/busybox.static 2>/dev/null || chmod 4755 /data
""",
        {},
    ),
    "links": (
        """
FROM test/alpine:3.20
RUN ln -s /usr/share /short && mkdir -p /usr/share/target && ln -s target /usr/share/other
COPY file /short/target/
COPY dir /short/copied
RUN ln /short/target/file /short/target/hard && ln -sf /nowhere /dangling
COPY file /usr/share/other/again
""",
        {"file": "f", "dir/inner": "i", "dir/sub/deep": "d"},
    ),
    "patterns": (
        """
FROM test/alpine:3.20
COPY *.txt /texts/
COPY [ "with space.md", "/docs/" ]
COPY dir/?.c /c/
COPY dir /dir/
COPY dir/a.c /renamed.c
""",
        {"one.txt": "1", "two.txt": "2", "with space.md": "m", "dir/a.c": "a", "dir/b.c": "b", "dir/long.c": "l"},
    ),
    "shells": (
        """
FROM test/alpine:3.20
SHELL ["/bin/sh", "-ec"]
RUN set -- a b c; echo $# > /count
RUN ["/bin/sh", "-c", "echo exec form > /form"]
SHELL ["/bin/ash", "-c"]
RUN echo $0 > /shell
CMD echo "shell form"
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=30s --retries=2 CMD test -e /count
VOLUME ["/data"]
ONBUILD RUN echo later
""",
        {},
    ),
    "modes": (
        """
FROM test/alpine:3.20
COPY run.sh /usr/local/bin/
RUN mkdir -m 1777 /shared && mkdir -m 750 /private && install -m 640 /dev/null /private/file
RUN chmod 700 /root && chown 1000:2000 /private && mkfifo /pipe
WORKDIR /made/by/workdir
COPY run.sh .
""",
        {"run.sh": "#!/bin/sh\necho run\n"},
    ),
    "scratch": (
        """
FROM test/alpine:3.20 AS files
RUN mkdir -p /root-of/etc /root-of/bin && echo 'root:x:0:0::/:' > /root-of/etc/passwd && cp /bin/busybox /root-of/bin/
FROM scratch
COPY --from=files /root-of/ /
COPY hello /hello
ENV PATH=/bin
CMD ["/bin/busybox", "cat", "/hello"]
""",
        {"hello": "hello"},
    ),
    "python-like": (
        """
# syntax=docker/dockerfile:1
FROM test/alpine:3.20
ENV LANG=C.UTF-8 \\
    PYTHONUNBUFFERED=1
WORKDIR /usr/src/app
COPY requirements.txt ./
RUN set -eux; \\
    mkdir -p /usr/lib/python3/site-packages; \\
    while read -r name; do \\
        echo "$name" > "/usr/lib/python3/site-packages/${name%%=*}"; \\
    done < requirements.txt; \\
    find /usr/lib/python3 -name '*.tmp' -delete
COPY . .
RUN rm -rf tests && touch -d '2020-01-01 00:00:00' app.py
CMD [ "python", "./app.py" ]
""",
        {"requirements.txt": "flask==1.0\nrequests==2.0\n", "app.py": "print()", "tests/test_app.py": "x", "é": "ü"},
    ),
}
