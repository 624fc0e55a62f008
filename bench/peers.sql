-- Orders and bulk changes written by hand, with the same rows as ours: with the row locks alone, and
-- with the same locks in Redis as well (direct.cpp), under keys of their own.

-- Lines is [{"variant_id": …, "quantity": …, "unit_price": …}, …].
CREATE FUNCTION order_by_hand(buyer text, lines jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    new_order bigint;
    line record;
    level shop.stock_level;
BEGIN
    INSERT INTO shop.orders
        (user_id, idempotency_key, status, total, currency, request_fingerprint, response)
    VALUES (buyer, gen_random_uuid()::text, 'placed',
            (SELECT sum((l->>'quantity')::bigint * (l->>'unit_price')::numeric)
             FROM jsonb_array_elements(lines) AS a(l)),
            'EUR', md5(lines::text), lines)
    RETURNING order_id INTO new_order;
    FOR line IN SELECT n, l->>'variant_id' AS variant, (l->>'quantity')::bigint AS quantity,
                       (l->>'unit_price')::numeric AS unit_price
                FROM jsonb_array_elements(lines) WITH ORDINALITY AS a(l, n) ORDER BY 2
    LOOP
        SELECT * INTO level FROM shop.stock_level
        WHERE variant_id = line.variant AND location_id = 'main' FOR UPDATE;
        IF level.on_hand - level.held < line.quantity THEN
            RAISE EXCEPTION 'insufficient stock';
        END IF;
        UPDATE shop.stock_level
        SET on_hand = on_hand - line.quantity, version = version + 1, updated_at = now()
        WHERE variant_id = line.variant AND location_id = 'main';
        INSERT INTO shop.order_line
            (order_id, line_no, variant_id, location_id, quantity, unit_price)
        VALUES (new_order, line.n, line.variant, 'main', line.quantity, line.unit_price);
        INSERT INTO shop.stock_movement (variant_id, location_id, kind, delta, on_hand_after, reason,
                                         reference_type, reference_id, actor, fence, protection)
        VALUES (line.variant, 'main', 'sale', -line.quantity, level.on_hand - line.quantity, 'order',
                'order', new_order::text, 'bench', level.fence, 'database');
    END LOOP;
    RETURN new_order;
END $$;

-- Changes is [{"variant_id": …, "delta": …}, …].
CREATE FUNCTION bulk_by_hand(changes jsonb) RETURNS bigint LANGUAGE sql AS $$
    WITH change AS (
        SELECT c->>'variant_id' AS variant, (c->>'delta')::bigint AS delta
        FROM jsonb_array_elements(changes) AS a(c)
    ), locked AS MATERIALIZED (
        SELECT s.variant_id FROM shop.stock_level s JOIN change c ON s.variant_id = c.variant
        WHERE s.location_id = 'main' ORDER BY s.variant_id FOR UPDATE OF s
    ), level AS (
        UPDATE shop.stock_level s
        SET on_hand = on_hand + c.delta, version = version + 1, updated_at = now()
        FROM change c, locked l
        WHERE l.variant_id = c.variant AND s.variant_id = c.variant AND s.location_id = 'main'
        RETURNING s.variant_id, c.delta, s.on_hand, s.fence
    ), movement AS (
        INSERT INTO shop.stock_movement
            (variant_id, location_id, kind, delta, on_hand_after, reason, actor, fence, protection)
        SELECT variant_id, 'main', 'adjust', delta, on_hand, 'count', 'bench', fence, 'database'
        FROM level RETURNING 1
    )
    SELECT count(*) FROM movement
$$;

-- The order's key and every variant's: each with a round trip of its own, or all in one pipeline.
CREATE FUNCTION order_with_direct_locks(buyer text, lines jsonb, pipelined boolean, port integer)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    keys text[] := 'direct:order_creation_' || buyer || '_' || gen_random_uuid()
                   || ARRAY(SELECT 'direct:' || (l->>'variant_id')
                            FROM jsonb_array_elements(lines) AS a(l) ORDER BY 1);
    key text;
BEGIN
    IF pipelined THEN
        PERFORM direct_locks(keys, port);
    ELSE
        FOREACH key IN ARRAY keys LOOP
            PERFORM direct_lock(key, port);
        END LOOP;
    END IF;
    RETURN order_by_hand(buyer, lines);
END $$;

CREATE FUNCTION bulk_with_direct_locks(changes jsonb, port integer) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM direct_locks(ARRAY(SELECT 'direct:' || (c->>'variant_id')
                               FROM jsonb_array_elements(changes) AS a(c) ORDER BY 1), port);
    RETURN bulk_by_hand(changes);
END $$;
