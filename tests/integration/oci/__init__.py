"""Any OCI runtime against the runtime specification 1.2 and runc's command line.

    ./dev pytest tests/integration/oci                    # coso-oci of this tree
    RUNTIME=crun ./dev pytest tests/integration/oci       # one that is installed
    RUNTIME=/opt/youki ./dev pytest tests/integration/oci # any program

It needs root.  Containers run in a network and a mount namespace of the
session, with state in a directory of their own (`--root`); a test that leaves
a mount, a control group or state behind fails.

A file per part of the specification; `bundle.py` makes the bundles,
`runtime.py` calls the program.  What a runtime of the versions that were tried
does otherwise than the specification says is in `differences.py`, each with
the reason, and becomes an expected failure for that runtime alone.

Runs side by side, made anew or from what `--oci-report` wrote; with `--page`
as docs/conformance.md:

    ./dev python -m tests.integration.oci.compare coso crun runc
    RUNTIME=crun ./dev pytest tests/integration/oci --oci-report crun.json
    ./dev python -m tests.integration.oci.compare crun.json runc.json
"""
