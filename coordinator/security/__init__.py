"""Authentication and authorization of peers; limits and quota; secrets; the audit."""
