"""Quality metrics of images and masks: error against a truth, gain, sharpness, MRIQC, regions."""
