-- Lists of one tenant's operations walk the tenant's own part of an index, not over those of others. There is none for
-- a kind of a tenant: each index is written at every change of state, and such a list looks at a bounded number of the
-- tenant's operations. Nothing is written to the table while it is built.
--
-- The state is an expression so that only this index serves those statements: where a database has counted nothing in a
-- state, walking all tenants' operations in it looks as cheap, and the plan stays when there are some.
CREATE INDEX operations_tenant_state ON operations (tenant, (state + 0), created_at, id);
