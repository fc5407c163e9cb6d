"""Start-up compared with the peers, in one run on one machine: ratios hold where milliseconds do not."""
