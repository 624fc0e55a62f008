-- The yardstick: the same stock change as careful people write it today, with the row lock alone.
-- No gate, no Redis, no early release. It writes the same rows as adjust_stock_locked.
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
    VALUES (variant, 'main', 'sale', -quantity, level.on_hand - quantity, 'purchase', 'sfu', level.fence,
            'database');
    RETURN level.on_hand - quantity;
END $$;
