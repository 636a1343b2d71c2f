package kedge

import _ "embed"

// OpenAPI describes all that the server answers, in OpenAPI 3.1 as YAML. It
// has no part in the vocabulary; it is here because its file is.
//
//go:embed openapi.yaml
var OpenAPI string
