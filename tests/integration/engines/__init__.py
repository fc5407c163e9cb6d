"""Real engines, as Debian has them, run their containers on coso-oci: podman, Docker, containerd.

    ./dev pytest tests/integration/engines                # coso-oci of this tree
    RUNTIME=runc ./dev pytest tests/integration/engines   # the same on runc or crun
    ./dev invoke vm-test                                  # among others these, in the virtual machine

`engines.py` knows the words of each engine; the tests say what users do, in
the words of Docker.  Storage, state and daemons are the tests' own, in a
directory that goes with them.
"""
