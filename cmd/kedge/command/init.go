package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

const initConfig = `# yaml-language-server: $schema=https://raw.githubusercontent.com/kedge-sync/kedge/main/configs/kedge.schema.json
version: 1

# Where kedge keeps its state and the tables of the connection "local".
# A PostgreSQL DSN works the same: postgres://user:${DB_PASSWORD}@host/database
store: {dsn: "sqlite:kedge.db"}

connections:
  %[1]s:
    kind: odata
    url: %[2]s
    # Secrets come from the environment: ${NAME}, or from a file: "file:/run/secrets/token"
    auth: %[3]s

integrations:
  - {name: %[1]s, external: %[1]s, mapping: %[1]s.yaml}
`

const initMapping = `# yaml-language-server: $schema=https://raw.githubusercontent.com/kedge-sync/kedge/main/configs/mapping.schema.json
kedge: mapping/v1
# One block per entity. "kedge connections schema %[1]s" lists what there is.
# This is how it looks; take the "# " away and put in your own names:
#
# entities:
#   - external: customers          # entity of the remote system
#     local: customer              # table; "kedge map tables %[1]s" makes it
#     key: [{external: "No", local: "no", primary: true}]
#     downloadFilter: "Blocked eq false"
#     fields:
#       - {external: Name, local: name}
#       - {external: Email, local: email}
`

func (a *app) initCommand() *cobra.Command {
	var name, url, auth string
	c := &cobra.Command{
		Use: "init", Short: "Write a commented config and an empty mapping for your own system", Args: cobra.NoArgs,
		Long:    "Asks three questions, or takes the answers as flags, and writes kedge.yaml (see --config) and a mapping file beside it. Files that exist are left alone.",
		Example: examples("kedge init", "kedge init --name crm --url https://crm.example/odata/v4/ --auth bearer"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := bufio.NewReader(cmd.InOrStdin())
			for _, q := range []struct {
				answer    *string
				text, def string
			}{
				{&name, "Name of the system", "crm"},
				{&url, "URL of its OData v4 service root", "http://127.0.0.1:4004/"},
				{&auth, "Authentication (none, basic, bearer, api_key, oauth2_client, device_code)", "none"},
			} {
				if err := ask(cmd, in, q.answer, q.text, q.def); err != nil {
					return err
				}
			}
			block, ok := authBlocks(name)[auth]
			if !ok {
				return usagef("--auth %q: must be none, basic, bearer, api_key, oauth2_client or device_code", auth)
			}
			return a.writeConfig(cmd, name, url, block)
		},
	}
	c.Flags().StringVar(&name, "name", "", "name of the system")
	c.Flags().StringVar(&url, "url", "", "URL of its OData v4 service root")
	c.Flags().StringVar(&auth, "auth", "", "none, basic, bearer, api_key, oauth2_client or device_code")
	return c
}

func ask(cmd *cobra.Command, in *bufio.Reader, answer *string, question, def string) error {
	if *answer != "" {
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [%s]: ", question, def)
	line, err := in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if *answer = strings.TrimSpace(line); *answer == "" {
		*answer = def
	}
	return nil
}

func authBlocks(name string) map[string]string {
	env := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	return map[string]string{
		"none":          "{type: none}",
		"basic":         fmt.Sprintf(`{type: basic, username: "${%[1]s_USER}", password: "${%[1]s_PASSWORD}"}`, env),
		"bearer":        fmt.Sprintf(`{type: bearer, token: "${%s_TOKEN}"}`, env),
		"api_key":       fmt.Sprintf(`{type: api_key, header: X-API-Key, value: "${%s_KEY}"}`, env),
		"oauth2_client": fmt.Sprintf(`{type: oauth2_client, tokenURL: "${%[1]s_TOKEN_URL}", clientId: "${%[1]s_CLIENT_ID}", clientSecret: "${%[1]s_CLIENT_SECRET}", scope: "${%[1]s_SCOPE}"}`, env),
		"device_code":   fmt.Sprintf(`{type: device_code, tenant: "${%[1]s_TENANT}", clientId: "${%[1]s_CLIENT_ID}", scope: "${%[1]s_SCOPE}"} # needs keys: as well`, env),
	}
}

func (a *app) writeConfig(cmd *cobra.Command, name, url, auth string) error {
	mappingPath := filepath.Join(filepath.Dir(a.configPath), name+".yaml")
	if mappingPath == filepath.Clean(a.configPath) {
		return usagef("--name %q: the mapping file would have the name of the config file", name)
	}
	for path, text := range map[string]string{
		a.configPath: fmt.Sprintf(initConfig, name, url, auth),
		mappingPath:  fmt.Sprintf(initMapping, name),
	} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, os.ErrExist) {
			return usagef("%s exists already and is left alone; move it away, or give --config", path)
		}
		if err != nil {
			return err
		}
		if _, err := f.WriteString(text); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `wrote %[1]s and %[2]s; next:
  kedge connections test %[3]s          prove that the connection works
  kedge connections schema %[3]s        see its entities, and write %[2]s
  kedge check                         compare it with the system
  kedge map tables %[3]s                make the local tables
  kedge sync %[3]s
`, a.configPath, mappingPath, name)
	return err
}
