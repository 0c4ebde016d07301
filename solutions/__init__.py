"""Complete solutions of the course, and the core that all of them share."""
