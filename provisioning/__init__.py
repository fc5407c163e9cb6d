"""Host set-up in the manner of Ansible: resources that are inspected, planned, applied, and undone.

`setups` lists what fs-setup, net-setup and install consist of; `engine`
carries a list out; every change is in a record before it is made, and a
tear-down undoes exactly what was recorded.
"""
