package csdl

import "strings"

// annotations reads the Annotation elements in e as those of target.
func (r *xmlReader) annotations(target string, e element) error {
	if e.get("Qualifier") != "" {
		return r.skip(e)
	}
	return r.content(e, func(c element) error {
		if c.name != "Annotation" {
			return r.skip(c)
		}
		return r.annotation(target, c)
	})
}

func (r *xmlReader) annotation(target string, e element) error {
	term := e.get("Term")
	if e.get("Qualifier") != "" || !wanted(term) {
		return r.skip(e)
	}
	v, err := r.value(e)
	if err != nil {
		return err
	}
	r.doc.notes[target] = append(r.doc.notes[target], annotation{term: term, value: v})
	return nil
}

// value reads the expression of an Annotation or PropertyValue: an attribute
// or the one child element that is not an annotation. None means true.
func (r *xmlReader) value(e element) (expression, error) {
	v, said := expression{text: "true"}, false
	for i := range e.attr {
		switch name, text := e.attr[i].Name.Local, e.attr[i].Value; name {
		case "Bool", "String", "Int", "PropertyPath", "NavigationPropertyPath", "AnyPropertyPath":
			v, said = expression{text: text}, true
		case "EnumMember":
			v, said = expression{text: member(text)}, true
		case "Path", "AnnotationPath", "ModelElementPath", "UrlRef":
			v, said = expression{dynamic: true}, true
		}
	}
	err := r.content(e, func(c element) (err error) {
		if c.name == "Annotation" || said {
			return r.skip(c)
		}
		said = true
		v, err = r.expression(c)
		return err
	})
	return v, err
}

func (r *xmlReader) expression(e element) (expression, error) {
	var v expression
	switch e.name {
	case "Bool", "String", "Int", "PropertyPath", "NavigationPropertyPath", "AnyPropertyPath", "EnumMember":
		err := r.skip(e)
		v.text = strings.TrimSpace(string(r.text))
		if e.name == "EnumMember" {
			v.text = member(v.text)
		}
		return v, err
	case "Collection":
		err := r.content(e, func(c element) error {
			item, err := r.expression(c)
			v.list = append(v.list, item)
			return err
		})
		return v, err
	case "Record":
		err := r.content(e, func(c element) error {
			if c.name != "PropertyValue" {
				return r.skip(c)
			}
			field, err := r.value(c)
			v.fields = append(v.fields, fieldValue{name: c.get("Property"), value: field})
			return err
		})
		return v, err
	}
	v.dynamic = true
	return v, r.skip(e)
}

// member returns the members of an enumeration value without their type:
// "Read" of "Org.OData.Core.V1.Permission/Read". Several stay separated by spaces.
func member(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		words[i] = w[strings.LastIndexByte(w, '/')+1:]
	}
	return strings.Join(words, " ")
}
