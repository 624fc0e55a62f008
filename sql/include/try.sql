\set ECHO none
-- pg_temp.try: runs a statement and says what came of it, with DETAIL and HINT of an error; names that
-- are drawn at random are masked. A file of sql/ takes it in:
--     \getenv srcdir PG_ABS_SRCDIR
--     \i :srcdir/sql/include/try.sql
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(' / ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''), nullif(hint, '')),
                          '[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f-]{17}', '<id>', 'g');
END $$;
\set ECHO all
