"""Ansible's connection plugin `coso`: `ANSIBLE_CONNECTION_PLUGINS=$(python -m coso.connectors.ansible)`."""
