"""One loop for every GAN."""
