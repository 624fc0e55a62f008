-- What the locked call is measured against. All write the same rows as adjust_stock_locked.

-- The yardstick (SFU): the stock change as careful people write it today, with the row lock alone.
-- No gate, no Redis, no early release.
CREATE FUNCTION sfu(variant text, quantity bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    level shop.stock_level;
BEGIN
    SELECT * INTO level FROM shop.stock_level
    WHERE variant_id = variant AND location_id = 'main' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such variant';
    END IF;
    IF level.on_hand - level.held - level.safety_stock + level.backorder_limit < quantity THEN
        RAISE EXCEPTION 'insufficient stock';
    END IF;
    UPDATE shop.stock_level
    SET on_hand = on_hand - quantity, version = version + 1, updated_at = now()
    WHERE variant_id = variant AND location_id = 'main';
    INSERT INTO shop.stock_movement
        (variant_id, location_id, kind, delta, on_hand_after, reason, actor, fence, protection)
    VALUES (variant, 'main', 'sale', -quantity, level.on_hand - quantity, 'purchase', 'bench', level.fence,
            'database');
    RETURN level.on_hand - quantity;
END $$;

-- The short way: one UPDATE that carries the condition. It cannot say why it refused.
CREATE FUNCTION conditional_update(variant text, quantity bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    level shop.stock_level;
BEGIN
    UPDATE shop.stock_level AS s
    SET on_hand = s.on_hand - quantity, version = s.version + 1, updated_at = now()
    WHERE s.variant_id = variant AND s.location_id = 'main'
        AND s.on_hand - s.held - s.safety_stock + s.backorder_limit >= quantity
    RETURNING s.* INTO level;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'insufficient stock';
    END IF;
    INSERT INTO shop.stock_movement
        (variant_id, location_id, kind, delta, on_hand_after, reason, actor, fence, protection)
    VALUES (variant, 'main', 'sale', -quantity, level.on_hand, 'purchase', 'bench', level.fence, 'database');
    RETURN level.on_hand;
END $$;

-- An advisory lock first, so that buyers of one variant queue in the lock manager and not at the row.
CREATE FUNCTION advisory_sfu(variant text, quantity bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(variant, 0));
    RETURN sfu(variant, quantity);
END $$;
