public import PostgresClient

extension PostgresConfiguration {
    /// A pool for the stores. Their statements find a few rows by key, so the planner is told once and for all: plans do
    /// not depend on parameters, keys are looked up one by one (a plan that was made while a table was empty would
    /// otherwise hash it whole until the first ANALYZE), and nothing is worth compiling.
    ///
    /// Not `enable_seqscan = off`: its penalty on tables of one row makes all other costs look equal.
    public static func stores(conninfo: String, connections: Int = 4) -> PostgresConfiguration {
        var configuration = PostgresConfiguration(conninfo: conninfo, connections: connections)
        configuration.sessionSettings = [
            ("plan_cache_mode", "force_generic_plan"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"),
            ("random_page_cost", "1.1"), ("jit", "off"),
        ]
        return configuration
    }
}
