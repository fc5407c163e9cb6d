"""What is measured: each module gives the results of a few cases on the ground that is made for all."""
