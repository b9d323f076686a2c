"""One file per layout: which columns mean what. A layout is a function of a row; `columns` says how it is known."""
