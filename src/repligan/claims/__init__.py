"""The claims of the sources, tested over seeds: rows, the values of trials, rules, the ledger."""
