"""Ways for other tools to work in containers: testinfra, pyinfra, Ansible; each a few lines over coso's Python."""
