"""Pictures of what was found: heat maps and QP maps over frames."""
