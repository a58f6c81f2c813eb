"""What looks at the whole pipeline from outside."""
