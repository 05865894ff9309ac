"""Small networks that stay right under attack: adversarial training, and distillation of robust teachers."""
