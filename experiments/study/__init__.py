"""Studies: a declared set of runs, planned, carried out, watched and priced."""
