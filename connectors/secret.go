package connectors

import "github.com/kedge-sync/kedge/internal/httpclient"

// A Secret is a value from the config that must not be shown. It prints, logs
// and marshals as "***"; a conversion to string gives the value.
type Secret = httpclient.Secret
