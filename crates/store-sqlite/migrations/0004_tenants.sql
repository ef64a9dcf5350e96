-- Lists of one tenant's operations walk the tenant's own part of an index, not over those of others. There is none for
-- a kind of a tenant: each index is written at every change of state, and such a list looks at a bounded number of the
-- tenant's operations.
CREATE INDEX operations_tenant_state ON operations (tenant, state, created_at, id);
