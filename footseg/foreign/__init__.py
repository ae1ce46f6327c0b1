"""Networks that somebody else made in Keras: what they take and give, and the same as footseg has its own."""
