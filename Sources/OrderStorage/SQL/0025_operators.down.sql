DROP POLICY operator ON recoveries;
