"""Print the directory that ANSIBLE_CONNECTION_PLUGINS is to name."""

import os

print(os.path.dirname(os.path.abspath(__file__)))
