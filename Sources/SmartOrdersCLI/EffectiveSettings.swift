// What a process was told, as administrators may see it: where each value is from, and no secret (INTERFACES.md 4.11).
import HTTPAPI

enum EffectiveSettings {
    /// Names of the environment, and whether the value is a secret or holds one.
    private static let known: [(name: String, isSecret: Bool)] = [
        ("SMARTORDERS_DATABASE_URL", true), ("SMARTORDERS_REDIS_URL", true), ("SMARTORDERS_MASTER_KEY", true),
        ("SMARTORDERS_OLD_MASTER_KEY", true),
        ("SMARTORDERS_INTAKE_KEY", false), ("SMARTORDERS_PAPER_VENUE", false), ("SMARTORDERS_PAPER_HEDGED", false),
        ("SMARTORDERS_LIVE_ENABLED", false), ("SMARTORDERS_LIVE_APPROVAL", false), ("SMARTORDERS_PUBLIC_URL", false),
        ("SMARTORDERS_CORS_ORIGINS", false), ("SMARTORDERS_TRUSTED_PROXIES", false),
        ("SMARTORDERS_RATE_FACTOR", false), ("SMARTORDERS_LOG_LEVEL", false), ("SMARTORDERS_WEBHOOK_ALLOW", false),
        ("SMARTORDERS_OPS_LISTEN", false),
    ]

    static func all(_ deployment: Deployment, host: String, port: Int) -> [APIConfiguration.Setting] {
        var settings = [
            APIConfiguration.Setting(name: "listen", value: "\(host):\(port)", origin: "flag"),
            APIConfiguration.Setting(name: "deployment", value: deployment.name, origin: "default"),
        ]
        let flags = ["SMARTORDERS_DATABASE_URL", "SMARTORDERS_REDIS_URL"]
        for (name, isSecret) in known {
            let value = environment(name) ?? (flags.contains(name) ? "given" : nil)
            let origin = environment(name) == nil ? (value == nil ? "default" : "flag") : "environment"
            let shown = isSecret && value != nil ? "***" : value ?? ""
            settings.append(APIConfiguration.Setting(name: name, value: shown, origin: origin))
        }
        return settings
    }
}
