import OrderEngine

/// What the operator allows webhooks beside public addresses.
enum WebhookSettings {
    /// Address blocks that may be asked although they are not public (SMARTORDERS_WEBHOOK_ALLOW, separated by commas): for
    /// development and tests, and for receivers within one's own network. Loopback among them may be asked without TLS.
    static var allowed: [AddressBlock] {
        (environment("SMARTORDERS_WEBHOOK_ALLOW") ?? "").split(separator: ",").compactMap { AddressBlock(String($0)) }
    }
}
