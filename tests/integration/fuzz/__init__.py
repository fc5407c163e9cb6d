"""Any config.json: coso-oci refuses it clearly, or the container is as it says; and nothing is left.

    ./dev pytest tests/integration/fuzz                    # some hundred, always the same
    COSO_FUZZ=20000 ./dev pytest tests/integration/fuzz    # that many, others each time

`configs.py` makes them, `oracle.py` compares a container with its
configuration by what the kernel says of its process, `test_config.py` runs
each in a process of its own and looks for what is left.
"""
