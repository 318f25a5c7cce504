"""A network that lives on a page: exported once, it looks at pictures in the browser, without a kernel or a network."""
