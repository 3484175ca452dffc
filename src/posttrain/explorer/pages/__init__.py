"""One file a page: a function from the Site and the address's parameters to what its template shows."""
