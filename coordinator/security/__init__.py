"""Who may connect to a coordinator and what they may do; secrets; the audit."""
