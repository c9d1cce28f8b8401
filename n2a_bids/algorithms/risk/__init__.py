"""Which denoised image is best, judged on data held out, without knowing the truth."""
