"""What the ``lora`` commands do: ports and facts in, reports out."""
