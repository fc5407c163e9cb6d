"""The command line: words in, Spec out, exit status back. Imports what a command needs when it is given."""
