package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/goccy/go-yaml"
	"github.com/kedge-sync/kedge"
)

// maxFile is the greatest size of one file, in bytes.
const maxFile = 4 << 20

// A file is one file of the configuration.
type file struct {
	path    string
	body    ast.Node
	secrets []string // paths of values that came from a reference
}

// Load reads the file at path and the files it includes. All errors name the
// file, and where it is known the line and the column.
func Load(path string) (*Config, error) {
	f, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c := new(Config)
	if err := f.decode(c); err != nil {
		return nil, err
	}
	if c.Version != 1 {
		return nil, f.errorAt("$.version", fmt.Sprintf("version: is %d, must be 1: the only version there is", c.Version))
	}
	c.files = []*file{f}
	f.placeJobs(c.Jobs)
	for _, pattern := range c.Include {
		if err := c.include(f, pattern); err != nil {
			return nil, err
		}
	}
	c.fill()
	return c, c.check()
}

// include adds the files that pattern names, relative to f.
func (c *Config) include(f *file, pattern string) error {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(f.path), pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 && !strings.ContainsAny(pattern, "*?[") {
		return f.errorAt("$.include", fmt.Sprintf("include: there is no file %s", pattern))
	}
	slices.Sort(paths)
	for _, path := range paths {
		part, err := readFile(path)
		if err != nil {
			return err
		}
		if err := c.merge(part); err != nil {
			return err
		}
		c.files = append(c.files, part)
	}
	return nil
}

// merge adds the connections, integrations and jobs of an included file; other
// settings belong into the main file, so that nobody has to look for them.
func (c *Config) merge(f *file) error {
	var part struct {
		Version      int                   `yaml:"version"`
		Connections  map[string]Connection `yaml:"connections"`
		Integrations []Integration         `yaml:"integrations"`
		Jobs         []Job                 `yaml:"jobs"`
	}
	if err := f.decode(&part); err != nil {
		return err
	}
	for name, conn := range part.Connections {
		if _, twice := c.Connections[name]; twice {
			return f.errorAt("$.connections."+name, fmt.Sprintf("connections.%s: declared in another file already", name))
		}
		if c.Connections == nil {
			c.Connections = map[string]Connection{}
		}
		c.Connections[name] = conn
	}
	for i := range part.Integrations {
		part.Integrations[i].Mapping = f.relative(part.Integrations[i].Mapping)
	}
	c.Integrations = append(c.Integrations, part.Integrations...)
	f.placeJobs(part.Jobs)
	c.Jobs = append(c.Jobs, part.Jobs...)
	return nil
}

// relative returns path as seen from the working directory.
func (f *file) relative(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.path), path)
}

func readFile(path string) (*file, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, invalid("there is no config file %s; \"kedge init\" writes one", path)
	}
	if err != nil {
		return nil, invalid("%v", err)
	}
	if info.Size() > maxFile {
		return nil, invalid("%s: larger than %d MiB", path, maxFile>>20)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return parse(path, src)
}

func parse(path string, src []byte) (*file, error) {
	f := &file{path: path}
	if !utf8.Valid(src) {
		return nil, invalid("%s: the file is not UTF-8", path)
	}
	doc, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, f.yamlError(err)
	}
	for _, d := range doc.Docs {
		if d.Body == nil {
			continue
		}
		if f.body != nil {
			return nil, f.problem(d.Body.GetToken(), "a config file is one YAML document; this starts a second one")
		}
		f.body = d.Body
	}
	if f.body == nil {
		return nil, invalid("%s: the file is empty; \"kedge init\" writes one to start from", path)
	}
	if err := f.refuse(); err != nil {
		return nil, err
	}
	return f, f.resolve(f.body)
}

// refuse finds what would make the file differ from what one sees.
func (f *file) refuse() error {
	var err error
	ast.Walk(visitor(func(n ast.Node) bool {
		switch n.(type) {
		case *ast.AliasNode, *ast.AnchorNode, *ast.MergeKeyNode:
			err = f.problem(n.GetToken(), "YAML anchors and aliases are not allowed; write the value out")
		case *ast.TagNode:
			err = f.problem(n.GetToken(), "YAML tags are not allowed; put text in quotes instead")
		}
		return err == nil
	}), f.body)
	return err
}

// A visitor is called for each node, and for those below if it returns true.
type visitor func(ast.Node) bool

func (v visitor) Visit(n ast.Node) ast.Visitor {
	if v(n) {
		return v
	}
	return nil
}

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}`)

// resolve replaces the references in the values below n.
func (f *file) resolve(n ast.Node) error {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			if err := f.resolve(v); err != nil {
				return err
			}
		}
	case *ast.MappingValueNode:
		return f.resolve(n.Value)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			if err := f.resolve(v); err != nil {
				return err
			}
		}
	case *ast.StringNode:
		return f.resolveText(n)
	}
	return nil
}

func (f *file) resolveText(n *ast.StringNode) error {
	var unset string
	text := reference.ReplaceAllStringFunc(n.Value, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		value, ok := os.LookupEnv(m[1])
		if ok && value != "" {
			return value
		}
		if def, hasDefault := strings.CutPrefix(m[2], ":-"); hasDefault {
			return def
		}
		if !ok {
			unset = m[1]
		}
		return value
	})
	if unset != "" {
		return f.problem(n.GetToken(), fmt.Sprintf("the environment variable %s is not set; set it, or write ${%s:-DEFAULT}", unset, unset))
	}
	if path, ok := strings.CutPrefix(text, "file:"); ok && !strings.HasPrefix(path, "//") {
		data, err := os.ReadFile(f.relative(path))
		if err != nil {
			return f.problem(n.GetToken(), fmt.Sprintf("the file that this value refers to cannot be read: %v", err))
		}
		text = strings.TrimRight(string(data), "\r\n")
	}
	if text != n.Value {
		f.secrets = append(f.secrets, n.GetPath())
		n.Value = text
	}
	return nil
}

// decode fills v from the file; unknown and duplicate keys are errors.
func (f *file) decode(v any) error {
	if err := yaml.NodeToValue(f.body, v, yaml.Strict()); err != nil {
		return f.yamlError(err, v)
	}
	return nil
}

// yamlError gives an error of the YAML library its place, and for an unknown
// key the nearest one that is known.
func (f *file) yamlError(err error, into ...any) error {
	var located yaml.Error
	if e, ok := errors.AsType[*kedge.Error](err); ok {
		return e
	}
	if !errors.As(err, &located) || located.GetToken() == nil {
		return invalid("%s: %v", f.path, err)
	}
	message := located.GetMessage()
	if _, unknown, found := strings.Cut(message, `unknown field "`); found && len(into) > 0 {
		name := strings.TrimSuffix(unknown, `"`)
		message = "unknown key " + name + suggest(name, keysOf(into[0]))
	}
	return f.problem(located.GetToken(), message)
}

func (f *file) problem(t *token.Token, message string) error {
	return invalid("%s:%d:%d: %s", f.path, t.Position.Line, t.Position.Column, message)
}

// errorAt is an error at the node with a YAML path, or at the nearest one
// above it that the file has.
func (f *file) errorAt(path, message string) error {
	for path != "$" && path != "" {
		if p, err := yaml.PathString(path); err == nil {
			if n, err := p.FilterNode(f.body); err == nil && n != nil {
				return f.problem(n.GetToken(), message)
			}
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return invalid("%s: %s", f.path, message)
}

func invalid(format string, args ...any) error {
	return &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf(format, args...)}
}
