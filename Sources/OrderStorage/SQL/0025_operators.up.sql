-- Operators look at a recovery over HTTP, too.
CREATE POLICY operator ON recoveries TO smartorders_operator USING (true);
REVOKE INSERT, UPDATE, DELETE ON recoveries FROM smartorders_operator;
