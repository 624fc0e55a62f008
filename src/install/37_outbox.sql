-- Events of stock, for consumers outside.

CREATE FUNCTION inventory_lock.outbox_fetch(
        consumer text, max_events bigint DEFAULT 100, binding text DEFAULT 'default')
    RETURNS TABLE ("position" bigint, event_id bigint, occurred_at timestamptz, kind text, variant_id text,
        location_id text, available_before bigint, available bigint)
    LANGUAGE c ROWS 100 AS 'MODULE_PATHNAME', 'inventory_lock_outbox_fetch';
COMMENT ON FUNCTION inventory_lock.outbox_fetch(text, bigint, text) IS
    'the events that a consumer has not acknowledged, oldest first; the same again until it does';

CREATE FUNCTION inventory_lock.outbox_ack(
        consumer text, "position" bigint, binding text DEFAULT 'default')
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_outbox_ack';
COMMENT ON FUNCTION inventory_lock.outbox_ack(text, bigint, text) IS
    'a consumer is done with all events up to this position; returns where it is now';
