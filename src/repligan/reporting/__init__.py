"""Tables, figures and one page, from files only."""
