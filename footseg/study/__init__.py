"""``footseg study``: what compression gave, several runs on one page."""
