-- The tables that SECURITY.md gives rights on.
SELECT inventory_lock.create_tables();
